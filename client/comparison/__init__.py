"""Comparisons: is a candidate as good for callers as the version that is served?"""
