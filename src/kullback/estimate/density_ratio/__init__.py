"""log P − log Q from a sample of each: scores of scikit-learn's classifiers, cross-fitted and stacked."""
