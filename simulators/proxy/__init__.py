"""A TCP proxy that breaks on purpose: in front of a simulated device, a real gateway or InfluxDB. It knows no machine.

`python -m simulators.proxy LISTEN TARGET` is the program; simulators/proxy/front.py puts one in front of a server.
"""
