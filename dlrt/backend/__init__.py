"""Backend-specific code: values, shapes, derivatives and tracing."""
