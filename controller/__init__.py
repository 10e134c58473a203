"""Gateway, drivers, pipeline, control, historian and web page of celltwin; `app` alone builds the objects."""

__version__ = "0.1.0"
