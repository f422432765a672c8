"""A short clip: what each stage keeps of every frame."""
