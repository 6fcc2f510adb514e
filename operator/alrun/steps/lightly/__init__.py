"""Our side of the Lightly Worker: what is said to Lightly's platform, and what is made of its answers.

The only place where the `lightly` client is imported. It sends the token with every request as a part of the URL, so that
no URL, and no message of the client or of what it uses, leaves this package as it came: see `client`.
"""
