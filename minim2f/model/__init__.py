"""Images to a prediction, in the order in which data flows."""
