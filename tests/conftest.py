"""What all tests share."""

from hypothesis import settings

# A time limit for each example says more about the machine's load than about the code.
settings.register_profile("sentinic", deadline=None, print_blob=True)
settings.load_profile("sentinic")
