"""The parts of scripts/conformance."""
