"""The live page, health, readiness and metrics. Reads a view; never writes to equipment, never imports its siblings."""

from controller.web.app import create_app
from controller.web.describe import DeviceInfo, LineInfo, describe
from controller.web.server import serve
from controller.web.view import LiveView

__all__ = ["DeviceInfo", "LineInfo", "LiveView", "create_app", "describe", "serve"]
