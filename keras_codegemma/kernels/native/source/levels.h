// The choice of the instruction set level that this processor can run.
#pragma once

#include "kernels.h"

namespace codegemma {

// The best level, within the limit, for activations of this type.
const Level* level_for(bool x_is_bfloat16);

// The best attention, within the limit.
const Attend* attend_level();

}  // namespace codegemma
