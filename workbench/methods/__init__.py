"""Methods: named learners. One file each; the registry finds them."""
