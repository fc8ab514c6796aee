"""Importers of published weights, one file a format."""
