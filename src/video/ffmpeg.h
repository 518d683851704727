// FFmpeg's objects as values that free themselves, and its error codes as eav::Error.
#pragma once
extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/cpu.h>
#include <libavutil/imgutils.h>
#include <libswscale/swscale.h>
}
#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "eav/error.h"

namespace eav::ffmpeg {

// Most of FFmpeg's destructors take the address of the pointer that they free.
template <auto free>
struct Freed {
  template <class T>
  void operator()(T* object) const {
    free(&object);
  }
};
struct FreedOutput {
  void operator()(AVFormatContext* context) const {
    avio_closep(&context->pb);
    avformat_free_context(context);
  }
};
struct FreedScaler {
  void operator()(SwsContext* context) const { sws_freeContext(context); }
};

using Frame = std::unique_ptr<AVFrame, Freed<av_frame_free>>;
using Packet = std::unique_ptr<AVPacket, Freed<av_packet_free>>;
using Encoder = std::unique_ptr<AVCodecContext, Freed<avcodec_free_context>>;
using File = std::unique_ptr<AVIOContext, Freed<avio_closep>>;
using Input = std::unique_ptr<AVFormatContext, Freed<avformat_close_input>>;
using Output = std::unique_ptr<AVFormatContext, FreedOutput>;
using Scaler = std::unique_ptr<SwsContext, FreedScaler>;

// An AVDictionary, which every FFmpeg call that takes one may replace.
struct Dictionary {
  AVDictionary* entries = nullptr;
  Dictionary() = default;
  Dictionary(const Dictionary&) = delete;
  Dictionary& operator=(const Dictionary&) = delete;
  ~Dictionary() { av_dict_free(&entries); }
  void set(const char* key, const char* value) { av_dict_set(&entries, key, value, 0); }
};

// Keeps FFmpeg from writing to stderr while it lives: what matters reaches the user as an eav::Error.
struct Quiet {
  int before = av_log_get_level();
  Quiet() { av_log_set_level(AV_LOG_QUIET); }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;
  ~Quiet() { av_log_set_level(before); }
};

// Passes a result on, or throws "<what>: <FFmpeg's text>" when it is an error code.
inline int check(int result, std::string_view what) {
  if (result >= 0) return result;
  char text[AV_ERROR_MAX_STRING_SIZE];
  av_strerror(result, text, sizeof text);
  const char* advice = result == AVERROR(ENOSPC) ? "; free some space or write to another disk" : "";
  throw Error(fmt::format("{}: {}{}", what, text, advice));
}

// A path as FFmpeg takes it: without the prefix, "12:30.mp4" would name a protocol.
inline std::string url(const std::filesystem::path& path) { return "file:" + path.string(); }

// A picture with memory of its own.
inline Frame new_frame(AVPixelFormat format, int width, int height) {
  Frame frame(av_frame_alloc());
  if (!frame) throw std::bad_alloc();
  frame->format = format;
  frame->width = width;
  frame->height = height;
  check(av_frame_get_buffer(frame.get(), 0), "cannot hold a picture in memory");
  return frame;
}

}  // namespace eav::ffmpeg
