"""Dashboards for Grafana, built from the same names that the historian writes."""
