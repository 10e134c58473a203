"""From a driver's Frames to durable data and twin results. Knows neither protocol nor sink."""
