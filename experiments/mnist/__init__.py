"""Networks of dense layers on MNIST and its kind."""
