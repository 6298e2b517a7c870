"""Keras networks to TF.js graph models, checked before they are published."""
