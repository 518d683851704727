// Prompts in the form of the captions that Open-Sora, PixArt-α and DeepFloyd IF were trained on.
#pragma once
#include <string>

namespace eav {

struct CleanCaption {
  std::string text;
  bool removed_tags = false;  // of markup, or what looks like them
  bool removed_cjk = false;   // Chinese or Japanese characters were taken out, as they are from every caption
};

// The prompt `utf8` in lower case, without addresses, markup, file names, hash marks, identifiers and the like, and
// with plain quotes and dashes. It is what diffusers' PixArtAlphaPipeline._text_preprocessing(clean_caption=True) makes
// of it, whose _clean_caption is DeepFloyd IF's: that is done twice. Two things differ: what looks like a tag is taken
// out by a pattern, where Beautiful Soup also knows which tags hide their text (<script>) and where quoted values end;
// ftfy's repair of text that was decoded with a wrong encoding ("Ã©") is left out. Throws eav::Error when the prompt is
// not UTF-8, or longer than can be cleaned in a moment.
CleanCaption clean_caption(const std::string& utf8);

// The prompt as it is without that (clean_caption=False): in lower case, and without white space around it. Throws as
// above.
std::string plain_caption(const std::string& utf8);

}  // namespace eav
