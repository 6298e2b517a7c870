"""Arbitrary style transfer: networks, images and the server-side model."""
