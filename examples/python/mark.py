#!/usr/bin/python3
"""Marks the packets of a socket, which needs NET_ADMIN."""
import os
import socket

s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, 36, 51820)  # SO_MARK
print("uid", os.getuid(), "mark", s.getsockopt(socket.SOL_SOCKET, 36))
