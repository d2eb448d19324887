"""The pipeline `ocr`: images and PDFs become text, tables and searchable PDFs."""
