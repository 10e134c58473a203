"""Gateway, drivers, pipeline, control, historian and web page of celltwin. `app` is the only place that builds objects."""

__version__ = "0.1.0"
