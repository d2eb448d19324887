"""A vision-language model on a server of the user's: what it is asked, and what its answers mean"""
