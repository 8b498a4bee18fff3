"""Every remedy that a message of arraycnn gives, listed from the source and followed to the letter.

`listing` finds them by their words, `following` has what a case needs, and the other modules have
the cases: each provokes a message, does as it says, and sees that this helps. `exempt` is the short
list of those that no test can follow, with the reason of each.
"""
