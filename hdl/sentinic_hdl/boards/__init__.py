"""Tops for boards that the open tools support."""
