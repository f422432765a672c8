"""Training: photos, augmentation, teachers, losses, and the programs that use them."""
