"""The comparison: is a candidate as good for its callers as the version that they have?"""
