"""The one training engine: a driver, an optimiser, early stopping, shuffling, batches and evaluation."""
