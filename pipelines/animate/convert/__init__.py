"""Import of Wan2.1's original files: converted once into the layout that the library loads"""
