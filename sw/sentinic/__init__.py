"""Sentinic: an open FPGA network card for security monitoring, host side."""
