"""Files out: each kind of output a pure function of a document's facts and its pages"""
