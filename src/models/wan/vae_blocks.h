// The layers that both halves of Wan's autoencoders have.
#pragma once
#include "models/wan/vae_config.h"
#include "vae/conv.h"

namespace eav::wan {}  // namespace eav::wan
