"""`minim2f bench`: ours beside Transformers' Mask2Former, same weights, same machine, in turn."""
