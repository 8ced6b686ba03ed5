"""How fast does a server answer?"""
