"""A small network, trained with mini-batches by the losses that the library ships."""
