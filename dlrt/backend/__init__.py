"""What Keras leaves to its backends: values, shapes, derivatives and tracing."""
