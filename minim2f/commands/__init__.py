"""The larger commands of `minim2f`, one a module; `minim2f.cli` lists them all."""
