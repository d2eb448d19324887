"""The pipeline `animate`: an image and a prompt become a video, by Wan2.1-I2V-14B"""
