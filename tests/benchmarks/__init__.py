"""Measurements: each module is a program that writes JSON with device, versions, date, case, median and spread."""
