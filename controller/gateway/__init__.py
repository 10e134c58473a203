"""Keeps every device connected and read, each by a task of its own, so that one that is away disturbs no other."""
