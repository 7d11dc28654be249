"""Output: one module per format, all made from the same snapshot, and the files and streams that it goes to."""
