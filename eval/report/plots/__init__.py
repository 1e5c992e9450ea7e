"""One file a picture, in one style."""
