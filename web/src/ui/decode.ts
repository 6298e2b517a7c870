/** Image files to pixels, upright and opaque. */

/** Something the visitor did that cannot work; the message says what to do. */
export class InputProblem extends Error {}

/** No picture is painted larger than this on its shorter side, in pixels. */
export const LARGEST_SIZE = 1024;
/** Beyond this, some browsers refuse a canvas. */
const LONGEST_SIDE = 4096;
/** The longer a strip, the smaller it is seen: of one longer than this, too little. */
const MAX_ASPECT = 100;

/**
 * Decodes an image as the server does: turned upright as its EXIF data say, with
 * transparency over white. Its shorter side is brought down to LARGEST_SIZE.
 * InputProblem if it is no image.
 */
export async function decode(file: Blob, name: string): Promise<ImageData> {
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(
    () => {
      throw new InputProblem(
        `“${name}” is not an image that this browser can read. ` +
          "Choose a JPEG, PNG, WebP or GIF file.",
      );
    },
  );
  const shorter = Math.min(bitmap.width, bitmap.height);
  const longer = Math.max(bitmap.width, bitmap.height);
  if (longer > MAX_ASPECT * shorter) {
    throw new InputProblem(
      `“${name}” is too narrow (${bitmap.width} × ${bitmap.height}): one side may be ` +
        `${MAX_ASPECT} times the other. Crop it first.`,
    );
  }
  const scale = Math.min(1, LARGEST_SIZE / shorter, LONGEST_SIDE / longer);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new InputProblem(`There is no memory left to open “${name}”.`);
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return context.getImageData(0, 0, canvas.width, canvas.height);
}
