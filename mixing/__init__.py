"""The method's mathematics, numpy only: estimators, weights, online mixers, allocation, order."""
