"""Bytes of an image file -> its pixels, right or refused in a true sentence, and in bounded memory."""
