"""Pictures in: bytes, files, archives, clips and sets of photos -> pixels -> model input, and back to the pixels.

Whatever a user or a data set brings is checked and bounded here.
"""
