"""The OCI distribution and image specifications as types and functions.

Called by everyone above. Pure: text and bytes in, values out; whatever comes in, the only error that leaves is our own.
"""
