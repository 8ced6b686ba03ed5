"""Moving version labels from one version to another."""
