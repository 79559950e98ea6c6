"""The one definition of what card and host share; standard library only."""
