"""The engines that read: each turns a picture into lines, and says what it is and what it computes with."""
