"""What a page is made of: its regions by kind, and its tables cell by cell"""
