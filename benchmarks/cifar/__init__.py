"""A ResNet-20 for CIFAR-10, trained from scratch: pictures, network, training and export."""
