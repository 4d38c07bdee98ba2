// What the files of images share. Included by images.c, image_put.c and image_content.c only.
#pragma once

#include "api/internal.h"

// The path's digest. False: it is none, and that was answered.
bool image_digest_of(struct api *api, struct http_request *req, const char **ret);
